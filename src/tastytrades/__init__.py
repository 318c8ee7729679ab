"""The command line of TastyTrades Option Trader."""
