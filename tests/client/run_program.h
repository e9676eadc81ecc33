// Runs the program `cascade` as a user does: with arguments, standard input and sometimes a terminal.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace cascade::client {

struct ProgramResult {
  // Exit code; 128 + the signal's number if one ended it.
  int code = -1;
  // With a terminal both come here.
  std::string output;
  std::string errors;
};

// CASCADE_PROGRAM (set by the build) with these arguments and this standard input, until it ends. NO_COLOR and
// CASCADE_ADDRESS are not set.
ProgramResult RunProgram(const std::vector<std::string>& arguments, const std::string& input = "");

// The program in a pseudo terminal of 100 columns.
class TerminalProgram {
 public:
  explicit TerminalProgram(const std::vector<std::string>& arguments);
  // Ends it if it still runs.
  ~TerminalProgram();
  TerminalProgram(const TerminalProgram&) = delete;
  TerminalProgram& operator=(const TerminalProgram&) = delete;

  // As if typed: "\x03" is Ctrl-C, "\x04" Ctrl-D.
  void Type(const std::string& keys);
  // Waits until this is on the screen behind what earlier calls found; false if the program ends, or a minute passes,
  // without it.
  bool WaitFor(const std::string& text);
  // Waits for its end.
  ProgramResult Wait();
  const std::string& screen() const { return screen_; }

 private:
  bool ReadSome();

  int terminal_ = -1;
  int pid_ = -1;
  std::string screen_;
  size_t found_ = 0;
};

}  // namespace cascade::client
