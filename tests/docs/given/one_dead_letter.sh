# One dead letter, its id in $ID: the sandbox refuses what contains "poison".
python - <<'PYTHON'
import os
from urllib.request import Request, urlopen

rules = b'[{"action": "refuse", "match": "poison"}]'
urlopen(Request(f"{os.environ['KLAVIYO_API_URL']}/sandbox/faults", rules)).close()
PYTHON
ID=$(klaviyo-relay track "Placed Order" --email poison@lovelace.dev)
export ID
tries=0
until klaviyo-relay dead list | grep -q "$ID"; do
    tries=$((tries + 1))
    test "$tries" -lt 200
done
