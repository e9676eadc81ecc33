#include "tests/client/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmp.h>

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

namespace {

// A root directory without a devpts has no pseudo terminals (a bare chroot); who may mount gets one for himself.
int OpenPrivateTerminal() {
  char folder[] = "/tmp/cascade-pts-XXXXXX";
  if (mkdtemp(folder) == nullptr) return -1;
  int terminal = -1;
  if (mount("devpts", folder, "devpts", 0, "newinstance,ptmxmode=0666,mode=0620") == 0) {
    terminal = open((std::string(folder) + "/ptmx").c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
    umount2(folder, MNT_DETACH);
  }
  rmdir(folder);
  return terminal;
}

// The master side, unlocked; -1 and errno if there is none.
int OpenTerminal() {
  int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0) terminal = OpenPrivateTerminal();
  const int unlocked = 0;
  if (terminal >= 0) ioctl(terminal, TIOCSPTLCK, &unlocked);
  return terminal;
}

}  // namespace

TerminalProgram::TerminalProgram(const std::vector<std::string>& arguments) {
  winsize size{};
  size.ws_col = 100;
  size.ws_row = 40;
  terminal_ = OpenTerminal();
  const int own_side = terminal_ < 0 ? -1 : ioctl(terminal_, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (own_side < 0) {
    std::perror("no pseudo terminal");
    return;
  }
  ioctl(own_side, TIOCSWINSZ, &size);
  pid_ = fork();
  if (pid_ == 0) {
    login_tty(own_side);
    Execute(arguments);
  }
  close(own_side);
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
