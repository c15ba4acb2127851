python load_files.py
