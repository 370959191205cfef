"""Time series: candles (and, with InfluxDB, anomalies) kept for charts. `store` is the contract, `writer` the role."""
