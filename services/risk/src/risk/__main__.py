from chassis.service import main
from risk.service import build
from risk.settings import RiskSettings

if __name__ == "__main__":
    main(RiskSettings, build)
