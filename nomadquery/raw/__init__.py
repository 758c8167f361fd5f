"""Raw files in bulk: chosen, streamed, verified, resumed, and never outside their folder."""
