"""How an execution meets its agent, for those who build on it: interfaces, and what stands behind.

Each class takes what it needs in its constructor, so that another may be given instead.
"""
