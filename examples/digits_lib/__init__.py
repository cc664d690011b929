"""Parts of the digits example: data, network, objectives, training, evaluation, report, pictures."""
