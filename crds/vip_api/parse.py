"""What everyone who reads VirtualIP documents imports: text or values to the model, and several judged together."""

from .document import document_name, parse_document
from .load import LoadedDocument, load_documents
from .together import Conflict, check_together

__all__ = [
    "Conflict",
    "LoadedDocument",
    "check_together",
    "document_name",
    "load_documents",
    "parse_document",
]
