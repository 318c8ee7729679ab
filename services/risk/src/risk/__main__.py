from chassis.service import run
from chassis.settings import load
from risk.service import build
from risk.settings import RiskSettings

if __name__ == "__main__":
    run(build(load(RiskSettings)))
