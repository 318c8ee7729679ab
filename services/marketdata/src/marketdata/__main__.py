from chassis.service import main
from marketdata.service import build
from marketdata.settings import MarketdataSettings

if __name__ == "__main__":
    main(MarketdataSettings, build)
