// The program cascade-server: flags, log, exit codes, signals.
#pragma once

namespace cascade {

// All of main; the process's exit code, unless it ends in here. Its back ends are those that the program is linked
// with.
int RunServerProgram(int argc, char** argv);

}  // namespace cascade
