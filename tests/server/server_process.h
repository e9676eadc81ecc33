// The program cascade-server as a child process. CASCADE_TEST_SERVER in the environment names another program, and
// CASCADE_TEST_SERVER_FLAGS flags (with blanks between) that all servers get: so the tests run on another device.
// Without a flag for it there is no HTTP port: servers of tests run side by side.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace cascade {

// Ends with the object, if not before.
class ServerProcess {
 public:
  explicit ServerProcess(const std::vector<std::string>& flags) {
    std::string name = (std::getenv("TMPDIR") != nullptr ? std::getenv("TMPDIR") : "/tmp");
    name += "/cascade-server-test-XXXXXX";
    const int file = mkstemp(name.data());
    log_name_ = name;
    child_ = fork();
    if (child_ == 0) {
      dup2(file, STDOUT_FILENO);
      dup2(file, STDERR_FILENO);
      setenv("CASCADE_HTTP_PORT", "0", 0);
      const char* program = std::getenv("CASCADE_TEST_SERVER");
      if (program == nullptr) program = CASCADE_SERVER_PROGRAM;
      std::vector<std::string> all = {program};
      all.insert(all.end(), flags.begin(), flags.end());
      const char* more = std::getenv("CASCADE_TEST_SERVER_FLAGS");
      std::istringstream words(more == nullptr ? "" : more);
      for (std::string word; words >> word;) all.push_back(word);
      std::vector<char*> argv;
      for (std::string& word : all) argv.push_back(word.data());
      argv.push_back(nullptr);
      execv(program, argv.data());
      _exit(127);
    }
    close(file);
  }
  ~ServerProcess() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    std::remove(log_name_.c_str());
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // What it printed so far, both streams.
  std::string Output() const {
    std::ifstream file(log_name_);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  // "127.0.0.1:PORT" once it serves; "" when it ended or a minute passed.
  std::string WaitUntilReady() {
    const std::string mark = "listening on ";
    for (int i = 0; i < 6000 && Running(); ++i) {
      const std::string output = Output();
      const size_t at = output.find(mark);
      const size_t end = at == std::string::npos ? at : output.find('\n', at);
      if (end != std::string::npos) return output.substr(at + mark.size(), end - at - mark.size());
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return "";
  }

  // -1 when it has ended.
  pid_t pid() const { return child_; }

  // Nothing when it has ended: kill(-1) would reach every process of this user.
  void Signal(int signal) const {
    if (child_ > 0) kill(child_, signal);
  }

  // Its exit code; -signal when a signal ended it.
  int Wait() {
    int status = 0;
    if (child_ > 0)
      waitpid(child_, &status, 0);
    else
      status = status_;
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  bool Running() {
    if (child_ <= 0) return false;
    if (waitpid(child_, &status_, WNOHANG) == 0) return true;
    child_ = -1;
    return false;
  }

  pid_t child_ = -1;
  int status_ = 0;
  std::string log_name_;
};

}  // namespace cascade
