// Keeps a page current: the socket only says that something changed, htmx fetches what did.
"use strict";

(() => {
  const region = document.querySelector("[data-live]");
  if (!region) return;

  const REFRESH_MS = 1_000;      // at most one refresh in so long
  const IDLE_REFRESH_MS = 15_000;
  const STALE_MS = 15_000;
  const PING_MS = 10_000;
  const LONGEST_PAUSE_MS = 15_000;
  const SIGNED_OUT = 4401;

  const connection = document.getElementById("connection");
  const stale = document.getElementById("stale");
  let socket = null;
  let cursor = null;
  let failures = 0;
  let isDirty = false;
  let isFetching = false;
  let refreshedAt = Date.now();
  let heardAt = Date.now();
  let clockSkew = 0;

  // --- the socket -------------------------------------------------------------------------------

  function connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(`${scheme}//${location.host}${region.dataset.socket}`);
    socket.addEventListener("open", () => subscribe());
    socket.addEventListener("message", (message) => hear(JSON.parse(message.data)));
    socket.addEventListener("close", (closed) => {
      show("off", "reconnecting");
      if (closed.code === SIGNED_OUT) {
        isDirty = true;  // the server answers with the sign-in page
        return;
      }
      const pause = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** failures++);
      setTimeout(connect, pause * (0.5 + Math.random() / 2));
    });
  }

  function subscribe() {
    const wish = { type: "subscribe", subscriptions: {} };
    if (cursor) wish.since = cursor;
    socket.send(JSON.stringify(wish));
  }

  function hear(message) {
    heardAt = Date.now();
    if (message.timestamp) clockSkew = Date.parse(message.timestamp) - Date.now();
    if (message.type === "subscribed") {
      failures = 0;
      cursor = message.cursor;
      isDirty = true;
      show("on", "live");
    } else if (message.v) {
      cursor = message.id;
      isDirty = true;
    }
  }

  setInterval(() => {
    if (socket && socket.readyState === WebSocket.OPEN) socket.send('{"type": "ping"}');
  }, PING_MS);

  // --- refreshing -------------------------------------------------------------------------------

  function isBeingRead() {
    const selection = getSelection();
    return !selection.isCollapsed && region.contains(selection.anchorNode);
  }

  function refreshIfDue() {
    const age = Date.now() - refreshedAt;
    const isDue = (isDirty && age >= REFRESH_MS && !isBeingRead()) || age >= IDLE_REFRESH_MS;
    if (isDue && !isFetching && !document.hidden) {
      isDirty = false;
      isFetching = true;
      htmx.trigger(region, "refresh");
    }
  }

  region.addEventListener("htmx:afterRequest", (event) => {
    isFetching = false;
    refreshedAt = Date.now();
    region.dataset.refreshed = event.detail.successful ? String(refreshedAt) : "";
    if (event.detail.successful) heardAt = refreshedAt;
    tick();
  });

  document.addEventListener("visibilitychange", () => { isDirty = true; });

  // --- words that move with the clock -----------------------------------------------------------

  const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

  function duration(milliseconds) {
    let seconds = Math.floor(milliseconds / 1000);
    const parts = [];
    for (const [unit, size] of UNITS) {
      const number = Math.floor(seconds / size);
      seconds -= number * size;
      if (number) parts.push(`${number} ${unit}`);
    }
    if (!parts.length) return "0 s";
    return parts.slice(0, parts[0].endsWith(" d") && parts.length > 2 ? 1 : 2).join(" ");
  }

  function relative(instant, now) {
    const away = instant - now;
    if (Math.abs(away) < 1000) return "now";
    if (away > 0) return `in ${duration(away)}`;
    return `${duration(-away).split(" ", 2).join(" ")} ago`;  // seconds of the past do not matter
  }

  function tick() {
    const now = Date.now() + clockSkew;
    for (const time of region.querySelectorAll("time[data-relative]")) {
      setText(time, relative(Date.parse(time.dateTime), now));
    }
    for (const time of region.querySelectorAll("time[data-elapsed]")) {
      setText(time, duration(Math.max(0, now - Date.parse(time.dateTime))));
    }
    const silence = Date.now() - heardAt;
    stale.hidden = silence < STALE_MS;
    if (!stale.hidden) {
      setText(stale, `Not current: nothing was heard from the server for ${duration(silence)}.`);
    }
  }

  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function show(state, word) {
    connection.hidden = false;
    connection.dataset.state = state;
    setText(connection.querySelector("[data-word]"), word);
  }

  setInterval(tick, 1_000);
  setInterval(refreshIfDue, 100);
  connect();
})();
