"""EDF and EDF+ files: headers and samples, read strictly."""
