"""Around very many executions: what the product is measured to do, beside its peers.

`targets` holds one module per target, `table` what a target is, `run` measures them, `report` and
`picture` tell the outcome. `peers` are other products; `installation` is ours.
"""
