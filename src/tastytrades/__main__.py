from tastytrades.cli import run

run()
