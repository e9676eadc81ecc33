// Writes the tiny model of the tests, for tests that are not in C++. Usage: tiny_model FILE
#include <cstdio>

#include "tests/support/tiny_model.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: tiny_model FILE\n");
    return 64;
  }
  cascade::WriteTinyModel(argv[1]);
  return 0;
}
