"""One public function per loss."""
