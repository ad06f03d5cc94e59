"""Tables of the analyses of people, made of the points of the metrics that each analysis brings."""
