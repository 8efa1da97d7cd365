"""What every noun needs: settings into engines, problems, health, docs. One factory each."""
