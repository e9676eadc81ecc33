#include "tests/client/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace cascade::client {
namespace {

constexpr int kPatienceMilliseconds = 60'000;

[[noreturn]] void Execute(const std::vector<std::string>& arguments) {
  unsetenv("NO_COLOR");
  unsetenv("CASCADE_ADDRESS");
  setenv("TERM", "xterm", 1);
  std::string program = CASCADE_PROGRAM;
  std::vector<char*> pointers = {program.data()};
  std::vector<std::string> copies = arguments;
  for (std::string& argument : copies) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  execv(program.c_str(), pointers.data());
  std::perror(program.c_str());
  _exit(127);
}

int ExitCode(int pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string ReadAll(int fd) {
  std::string text;
  std::array<char, 4096> bytes;
  for (ssize_t count; (count = read(fd, bytes.data(), bytes.size())) > 0;) text.append(bytes.data(), count);
  close(fd);
  return text;
}

}  // namespace

ProgramResult RunProgram(const std::vector<std::string>& arguments, const std::string& input) {
  int in[2], out[2], err[2];
  for (int* ends : {in, out, err}) {
    if (pipe2(ends, O_CLOEXEC) != 0) return {};
  }
  signal(SIGPIPE, SIG_IGN);
  const int pid = fork();
  if (pid == 0) {
    signal(SIGPIPE, SIG_DFL);
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    Execute(arguments);
  }
  for (const int fd : {in[0], out[1], err[1]}) close(fd);
  ProgramResult result;
  std::thread writer([&] {
    for (size_t done = 0; done < input.size();) {
      const ssize_t count = write(in[1], input.data() + done, input.size() - done);
      if (count <= 0) break;
      done += count;
    }
    close(in[1]);
  });
  std::thread reader([&] { result.errors = ReadAll(err[0]); });
  result.output = ReadAll(out[0]);
  reader.join();
  writer.join();
  result.code = ExitCode(pid);
  return result;
}

TerminalProgram::TerminalProgram(const std::vector<std::string>& arguments) {
  winsize size{};
  size.ws_col = 100;
  size.ws_row = 40;
  pid_ = forkpty(&terminal_, nullptr, nullptr, &size);
  if (pid_ == 0) Execute(arguments);
}

TerminalProgram::~TerminalProgram() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    ExitCode(pid_);
  }
  close(terminal_);
}

void TerminalProgram::Type(const std::string& keys) {
  [[maybe_unused]] const ssize_t count = write(terminal_, keys.data(), keys.size());
}

bool TerminalProgram::ReadSome() {
  pollfd source{terminal_, POLLIN, 0};
  if (poll(&source, 1, kPatienceMilliseconds) <= 0) return false;
  std::array<char, 4096> bytes;
  // EIO: the program has ended.
  const ssize_t count = read(terminal_, bytes.data(), bytes.size());
  if (count <= 0) return false;
  screen_.append(bytes.data(), count);
  return true;
}

bool TerminalProgram::WaitFor(const std::string& text) {
  while (true) {
    const size_t place = screen_.find(text, found_);
    if (place != std::string::npos) {
      found_ = place + text.size();
      return true;
    }
    if (!ReadSome()) return false;
  }
}

ProgramResult TerminalProgram::Wait() {
  while (ReadSome()) {
  }
  ProgramResult result;
  result.code = ExitCode(pid_);
  pid_ = -1;
  result.output = screen_;
  return result;
}

}  // namespace cascade::client
