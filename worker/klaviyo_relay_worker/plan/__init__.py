"""Planning: commands in, requests out. Pure: no clock, no Redis, no HTTP.

Each kind of batch is a conversation: a generator that yields requests, is sent Klaviyo's answers,
and writes into a ledger what became of each command. It is only ever sent answers that speak of
the commands (accepted or refused); outages, throttling and lost answers end it from outside, and
the commands that have no outcome yet stay in their lane.
"""
