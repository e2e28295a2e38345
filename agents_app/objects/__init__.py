"""What a cycle may use, as people set it: credentials, providers, agents and endpoints.

REST, admin and commands call these modules; each checks the words as a whole, stores the row and
its audit entry in one transaction, and refuses to remove what is still used.
"""
