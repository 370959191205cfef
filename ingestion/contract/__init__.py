"""What every detector promises, as tests: `pytest --pyargs ingestion.contract`.

They test the detectors of one's own that entry points and `ANALYSIS_SETTINGS` name, and ours if there are none
(`docs/detectors-of-your-own.md`).
"""
