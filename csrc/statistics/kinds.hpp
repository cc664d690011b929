// The statistics: calls X(kind, class) for each.
#pragma once

#define DML_STATISTICS(X)           \
    X(circle, Circle)               \
    X(divergence, Divergence)       \
    X(field, Field)                 \
    X(logsumexp, LogSumExp)         \
    X(moments, Moments)             \
    X(row_circle, RowCircle)        \
    X(row_logsumexp, RowLogSumExp)  \
    X(row_sub_center, RowSubCenter) \
    X(soft_triple, SoftTriple)      \
    X(square, Square)               \
    X(sub_center, SubCenter)
