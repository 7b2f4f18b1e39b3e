"""What takes space and nobody needs: found, told, and removed beside whoever reads or writes."""
