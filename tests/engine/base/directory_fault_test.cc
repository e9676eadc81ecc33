#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <thread>

#include "tests/engine/base/directory_test_util.h"

namespace cascade {
namespace {

using absl::StatusCode;

// Of all writes only those of this many bytes fail: the sanitizers write too, to find out what memory is there.
constexpr uint32_t kFailingBytes = 7777;

// Runs `work` in a thread in which one system call fails.
void WithFailing(long call, int error, const std::function<void()>& work) {
  std::thread thread([&] {
    const bool is_write = call == __NR_write;
    std::array<sock_filter, 6> program = {{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
        BPF_JUMP(static_cast<uint16_t>(BPF_JMP | BPF_K | (is_write ? BPF_JEQ : BPF_JGE)), is_write ? kFailingBytes : 0,
                 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog filter = {static_cast<uint16_t>(program.size()), program.data()};
    const bool filters =
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
    EXPECT_TRUE(filters) << "seccomp: errno " << errno;
    if (filters) work();
  });
  thread.join();
}

// What each answer of the system becomes.
TEST_F(DirectoryTest, TranslatesTheSystemsErrors) {
  Write(*directory_, "name_a", "abc");
  auto reader = directory_->OpenRead("name_a");
  ASSERT_TRUE(reader.ok());
  std::array<uint8_t, 3> bytes;
  const std::string failing(kFailingBytes, 'x');
  const std::string fresh = (path_ / "fresh").string();
  const auto append = [&] { return (*directory_->OpenAppend("name_a", 3))->Append(Bytes(failing)); };
  const auto sync = [&] { return (*directory_->OpenAppend("name_a", 3))->Sync(); };
  const auto read = [&] { return (*reader)->Read(0, bytes); };
  const auto open_read = [&] { return directory_->OpenRead("name_a").status(); };
  const auto create = [&] { return directory_->Create("name_b").status(); };
  const auto link = [&] { return directory_->Link("name_a", "name_b"); };
  const auto remove = [&] { return directory_->Remove("name_a"); };
  const auto sync_folder = [&] { return directory_->Sync(); };
  const auto list = [&] { return directory_->List().status(); };
  const auto exists = [&] { return directory_->Exists("name_a").status(); };
  const auto lock = [&] { return directory_->Lock("name_lock").status(); };
  const auto free_bytes = [&] { return directory_->FreeBytes().status(); };
  const auto open_folder = [&] { return Directory::Open(path_).status(); };
  const auto make_folder = [&] { return Directory::Open(fresh).status(); };
#ifdef __NR_mkdir
  constexpr long kMkdir = __NR_mkdir;
#else
  constexpr long kMkdir = __NR_mkdirat;
#endif
  const struct {
    long call;
    int error;
    std::function<absl::Status()> work;
    StatusCode code;
    const char* words;
  } rows[] = {
      {__NR_write, ENOSPC, append, StatusCode::kResourceExhausted, "writing a session's file: No space left"},
      {__NR_write, EDQUOT, append, StatusCode::kResourceExhausted, "quota"},
      {__NR_write, EIO, append, StatusCode::kInternal, "the device failed"},
      {__NR_write, 0, append, StatusCode::kInternal, "the device failed"},  // writes nothing, for no reason
      {__NR_fdatasync, EIO, sync, StatusCode::kInternal, "durable"},
      {__NR_fdatasync, ENOSPC, sync, StatusCode::kResourceExhausted, "durable"},
      {__NR_pread64, EIO, read, StatusCode::kDataLoss, "reading a session's file: the device failed"},
      {__NR_openat, EIO, open_read, StatusCode::kDataLoss, "opening"},
      {__NR_openat, EMFILE, open_read, StatusCode::kResourceExhausted, "Too many open files"},
      {__NR_openat, EIO, create, StatusCode::kInternal, "creating"},
      {__NR_openat, ENOSPC, create, StatusCode::kResourceExhausted, "No space left"},
      {__NR_openat, EROFS, create, StatusCode::kPermissionDenied, "Read-only"},
      {__NR_linkat, ENOSPC, link, StatusCode::kResourceExhausted, "linking"},
      {__NR_linkat, EIO, link, StatusCode::kInternal, "linking"},
      {__NR_unlinkat, EACCES, remove, StatusCode::kPermissionDenied, "removing a session's file: Permission denied"},
      {__NR_fsync, EIO, sync_folder, StatusCode::kInternal, "durable"},
      {__NR_openat, EMFILE, list, StatusCode::kResourceExhausted, "listing"},
      {__NR_getdents64, EIO, list, StatusCode::kDataLoss, "listing"},
      {__NR_newfstatat, EIO, exists, StatusCode::kDataLoss, "looking up"},
      {__NR_fcntl, ENOLCK, lock, StatusCode::kResourceExhausted, "locking"},
      {__NR_fstatfs, EIO, free_bytes, StatusCode::kDataLoss, "free space"},
      {__NR_openat, EACCES, open_folder, StatusCode::kPermissionDenied, "opening the session folder"},
      {__NR_faccessat2, EACCES, open_folder, StatusCode::kPermissionDenied, "opening the session folder: Permission"},
      {__NR_faccessat2, EROFS, open_folder, StatusCode::kPermissionDenied, "Read-only"},
      {kMkdir, EROFS, make_folder, StatusCode::kPermissionDenied, "making the session folder: Read-only"},
      {__NR_fsync, EIO, make_folder, StatusCode::kInternal, "making the session folder"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.words);
    absl::Status status;
    WithFailing(row.call, row.error, [&] { status = row.work(); });
    ExpectError(status, row.code, row.words);
  }
  EXPECT_FALSE(std::filesystem::exists(fresh));
  EXPECT_TRUE(make_folder().ok());
  EXPECT_TRUE(read().ok());
  EXPECT_EQ(Contents(*directory_, "name_a"), "abc");
}

TEST_F(DirectoryTest, AFileThatFailedIsGivenUp) {
  auto unsynced = directory_->Create("name_a"), unwritten = directory_->Create("name_b");
  ASSERT_TRUE(unsynced.ok() && unwritten.ok());
  EXPECT_TRUE((*unsynced)->Append(Bytes("abc")).ok());
  WithFailing(__NR_fdatasync, EIO, [&] { EXPECT_FALSE((*unsynced)->Sync().ok()); });
  WithFailing(__NR_write, ENOSPC,
              [&] { EXPECT_FALSE((*unwritten)->Append(Bytes(std::string(kFailingBytes, 'x'))).ok()); });
  for (WritableFile* file : {unsynced->get(), unwritten->get()}) {
    ExpectError(file->Sync(), StatusCode::kFailedPrecondition, "given up");
    ExpectError(file->Append(Bytes("d")), StatusCode::kFailedPrecondition, "given up");
  }
  EXPECT_EQ((*unsynced)->size(), 3);
  EXPECT_EQ((*unwritten)->size(), 0);
}

TEST_F(DirectoryTest, GoesOnAfterAShortWrite) {
  auto file = directory_->Create("name_a");
  ASSERT_TRUE(file.ok());
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {60, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const absl::Status status = (*file)->Append(Bytes(std::string(100, 'x')));  // 60 bytes, then an error
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  ExpectError(status, StatusCode::kOutOfRange, "File too large");
  EXPECT_EQ(Contents(*directory_, "name_a"), std::string(60, 'x'));
  EXPECT_EQ((*file)->size(), 0);
}

}  // namespace
}  // namespace cascade
