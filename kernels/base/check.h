// CHECK for our own bugs: prints the place and aborts. Never for anything that a client or a file can cause.
#pragma once

#include <cstdio>
#include <cstdlib>

#define CASCADE_CHECK(condition)                                                              \
  do {                                                                                        \
    if (!(condition)) {                                                                       \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition);      \
      std::abort();                                                                           \
    }                                                                                         \
  } while (false)
