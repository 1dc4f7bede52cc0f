"""Excel: one sheet of a workbook. Only read."""

from __future__ import annotations

from typing import Final

from dataflare.pipeline.connectors.connector import Connector
from dataflare.pipeline.reading.excel_reader import ExcelReadOptions, read_excel

__all__ = ["CONNECTOR"]

CONNECTOR: Final = Connector(
    name="excel",
    summary="Excel: one sheet of a workbook. Only read.",
    endings=("xlsx", "xlsm", "xls"),
    read=read_excel,
    read_options=ExcelReadOptions,
)
