"""The contract with plugins: what the hooks are (specs), who implements them (manager), how they
run (dispatch).
"""
