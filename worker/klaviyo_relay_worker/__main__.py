"""`python -m klaviyo_relay_worker`: the same as `klaviyo-relay`."""

from klaviyo_relay_worker.cli import main

main()
