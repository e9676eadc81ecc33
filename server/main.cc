#include "server/program.h"

int main(int argc, char** argv) { return cascade::RunServerProgram(argc, argv); }
