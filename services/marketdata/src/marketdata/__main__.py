from chassis.service import run
from chassis.settings import load
from marketdata.service import build
from marketdata.settings import MarketdataSettings

if __name__ == "__main__":
    run(build(load(MarketdataSettings)))
