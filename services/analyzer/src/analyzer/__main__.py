from analyzer.service import build
from analyzer.settings import AnalyzerSettings
from chassis.service import main

if __name__ == "__main__":
    main(AnalyzerSettings, build)
