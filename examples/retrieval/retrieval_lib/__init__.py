"""Parts of the retrieval recipes: configuration, data, network, objective, engine, evaluation, report."""
