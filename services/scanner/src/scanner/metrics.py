"""Every metric of the scanner."""

from prometheus_client import Counter, Gauge, Histogram

cycles = Counter("tt_scanner_cycles_total", "Scans by outcome", ["outcome"])
duration = Histogram("tt_scanner_scan_seconds", "Time of one full scan", buckets=(0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30))
passed = Gauge("tt_scanner_passed", "Candidates that passed every rule in the last scan")
evaluated = Gauge("tt_scanner_evaluated", "Structures judged in the last scan")
proposals = Counter("tt_scanner_proposals_total", "Trades proposed to risk")
