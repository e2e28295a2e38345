"""The one place where an endpoint's state is decided: a script in Redis, which runs it whole.

Executions everywhere report to it what their calls showed. Its clock is that of Redis. One hash
per endpoint holds the state, the streak of failures and the counts of the window, cut into
WINDOW_PARTS. `generation` counts the changes of state: what was begun under an earlier one says
nothing about the present.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "cadenza:breaker:"
WINDOW_PARTS: Final = 12
# An endpoint that nobody calls for so long is forgotten, and closed.
KEPT_CLOSED_MS: Final = 3_600_000
KEPT_OPEN_MS: Final = 86_400_000

SCRIPT: Final = (
    """
local key = KEYS[1]
local verb, token, token_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local generation, calls, failures = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local trailing, latency = tonumber(ARGV[7]), tonumber(ARGV[8])
local most_streak, rate, min_calls = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local window, cooldown, most_cooldown = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
"""
    f"local parts, kept_closed, kept_open = {WINDOW_PARTS}, {KEPT_CLOSED_MS}, {KEPT_OPEN_MS}\n"
    """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local raw = redis.call('HGETALL', key)
local known = #raw > 0
local b = {}
for i = 1, #raw, 2 do b[raw[i]] = raw[i + 1] end
local state = b.state or 'closed'
local current = tonumber(b.generation or 0)
local streak = tonumber(b.streak or 0)
local wait_again = tonumber(b.cooldown or cooldown)
local since, next_probe = tonumber(b.since or 0), tonumber(b.next_probe or 0)
local probe, probe_until = b.probe or '', tonumber(b.probe_until or 0)
local reason = b.reason or ''
local is_changed, from = false, ''

local part = math.ceil(window / parts)
local newest = math.floor(now / part)
local here = string.format('n%.0f', newest)
local n, f, l = 0, 0, 0
local past = {}
for name, counts in pairs(b) do
    local number = string.match(name, '^n(%d+)$')
    if number then
        if tonumber(number) <= newest - parts or tonumber(number) > newest then
            past[#past + 1] = name
        else
            local some, failed, took = string.match(counts, '^(%d+):(%d+):(%d+)$')
            n, f, l = n + some, f + failed, l + took
        end
    end
end

local function move(target, why)
    from, is_changed = state, true
    state, since, reason, current = target, now, why, current + 1
end
local function forget_window()
    for name in pairs(b) do
        if string.match(name, '^n%d+$') then past[#past + 1] = name; b[name] = nil end
    end
    n, f, l, streak = 0, 0, 0, 0
end
local function close(why)
    move('closed', why)
    next_probe, probe, probe_until, wait_again = 0, '', 0, cooldown
end
local function open(why, wait)
    move('open', why)
    wait_again, next_probe, probe, probe_until = wait, now + wait, '', 0
end

-- What lies further ahead than it can was written before the clock was set back.
if state == 'open' and next_probe - now > wait_again then next_probe = now end
if probe_until - now > wait_again then probe_until = now end

local counted = {calls = n, failures = f}
local is_probes_end = token ~= '' and probe == token and state == 'half_open'
-- Nobody's place is kept for longer than a cooldown: who dies with it blocks no longer. A call that
-- takes longer and succeeds still closes it, if no other probe has failed since; nothing else of
-- one that came too late counts.
local place_ms = math.min(token_ms, cooldown, wait_again)
local is_late = verb == 'success' and state == 'half_open' and generation == current
if verb == 'success' and (is_probes_end or is_late) then
    close('the probe succeeded')
    forget_window()
    generation = current
elseif verb == 'failure' and is_probes_end then
    open('the probe failed', math.min(wait_again * 2, most_cooldown))
    generation = current
elseif verb == 'none' and is_probes_end then
    probe, probe_until, is_changed = '', 0, true
elseif verb == 'failure' then
    generation = -1
elseif verb == 'reset' and state ~= 'closed' then
    close(token)  -- here it says who wants it
    forget_window()
elseif verb == 'ask' and state == 'open' and now >= next_probe then
    move('half_open', 'the cooldown is over')
    probe, probe_until, generation = token, now + place_ms, current
elseif verb == 'ask' and state == 'half_open' and now >= probe_until then
    probe, probe_until, is_changed = token, now + place_ms, true
end

local is_counted = calls > 0 and (generation == current or not known)
if #past > 0 and (is_changed or is_counted) then redis.call('HDEL', key, unpack(past)) end
if is_counted then
    is_changed = true
    local some, failed, took = string.match(b[here] or '0:0:0', '^(%d+):(%d+):(%d+)$')
    b[here] = string.format('%.0f:%.0f:%.0f', some + calls, failed + failures, took + latency)
    redis.call('HSET', key, here, b[here])
    n, f, l = n + calls, f + failures, l + latency
    streak = (trailing < calls) and trailing or (streak + trailing)
    if state == 'closed' and failures > 0 then
        counted = {calls = n, failures = f}
        if streak >= most_streak then
            open(string.format('%.0f calls in a row failed', streak), cooldown)
        elseif n >= min_calls and f >= rate * n then
            open(string.format('%.0f of %.0f calls in %g s failed', f, n, window / 1000), cooldown)
        end
    end
end

if is_changed then
    redis.call('HSET', key, 'state', state, 'generation', current, 'streak', streak,
        'cooldown', wait_again, 'since', since, 'next_probe', next_probe, 'probe', probe,
        'probe_until', probe_until, 'reason', reason)
    redis.call('PEXPIRE', key, (state == 'closed') and kept_closed or kept_open)
end
local next_at = (state == 'half_open') and probe_until or next_probe
local is_ours = token ~= '' and probe == token and state == 'half_open'
return {state, current, now, since, next_at, is_ours and 1 or 0, known and 1 or 0, n, f, l, streak,
    reason, from, counted.calls, counted.failures}
"""
)
