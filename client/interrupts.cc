#include "client/interrupts.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace cascade::client {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
constexpr char kStop = 0;

// For the signal handler, which can reach nothing else.
volatile sig_atomic_t signal_pipe = -1;
struct sigaction old_actions[std::size(kSignals)];

void OnSignal(int signal) {
  const int saved = errno;
  const char byte = static_cast<char>(signal);
  // A full pipe holds enough interrupts already.
  [[maybe_unused]] const ssize_t written = write(signal_pipe, &byte, 1);
  errno = saved;
}

void MakePipe(int (&ends)[2]) {
  if (pipe(ends) != 0) {
    std::perror("cascade: pipe");
    std::abort();
  }
  for (const int end : ends) fcntl(end, F_SETFD, FD_CLOEXEC);
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
}

}  // namespace

Interrupts::Interrupts() {
  MakePipe(signals_);
  MakePipe(wake_);
  fcntl(wake_[0], F_SETFL, O_NONBLOCK);
  signal_pipe = signals_[1];
  watcher_ = std::thread([this] { Watch(); });
  struct sigaction action {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &action, &old_actions[i]);
}

Interrupts::~Interrupts() {
  for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &old_actions[i], nullptr);
  while (write(signals_[1], &kStop, 1) != 1) usleep(1000);
  watcher_.join();
  signal_pipe = -1;
  for (const int fd : {signals_[0], signals_[1], wake_[0], wake_[1]}) close(fd);
}

void Interrupts::Watch() {
  char signal = kStop;
  while (true) {
    const ssize_t count = read(signals_[0], &signal, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count != 1 || signal == kStop) return;
    if (signal != SIGINT) leaving_ = true;
    std::lock_guard lock(mutex_);
    if (handler_) {
      handler_();
    } else {
      [[maybe_unused]] const ssize_t written = write(wake_[1], &signal, 1);
    }
  }
}

bool Interrupts::Take() {
  char bytes[64];
  bool any = false;
  while (read(wake_[0], bytes, sizeof(bytes)) > 0) any = true;
  return any;
}

Interrupts::Handler::Handler(Interrupts& interrupts, std::function<void()> handler) : interrupts_(interrupts) {
  std::lock_guard lock(interrupts_.mutex_);
  interrupts_.handler_ = std::move(handler);
}

Interrupts::Handler::~Handler() {
  std::lock_guard lock(interrupts_.mutex_);
  interrupts_.handler_ = nullptr;
}

}  // namespace cascade::client
