from chassis.service import run
from chassis.settings import load
from scanner.service import build
from scanner.settings import ScannerSettings

if __name__ == "__main__":
    run(build(load(ScannerSettings)))
