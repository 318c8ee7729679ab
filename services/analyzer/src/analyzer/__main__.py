from analyzer.service import build
from analyzer.settings import AnalyzerSettings
from chassis.service import run
from chassis.settings import load

if __name__ == "__main__":
    run(build(load(AnalyzerSettings)))
