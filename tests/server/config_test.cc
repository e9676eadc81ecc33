#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>
#include <vector>

namespace cascade {
namespace {

using testing::HasSubstr;
using testing::Not;

ParsedCommandLine Parse(std::vector<std::string> flags, bool with_model = true) {
  std::vector<const char*> argv = {"cascade-server"};
  if (with_model) argv.insert(argv.end(), {"--model", "a.gguf"});
  for (const std::string& flag : flags) argv.push_back(flag.c_str());
  return ParseCommandLine(static_cast<int>(argv.size()), argv.data());
}

// Sets a variable for one test.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Environment() { unsetenv(name_); }

 private:
  const char* name_;
};

TEST(Config, DefaultsAreTheDocumentedOnes) {
  const ParsedCommandLine parsed = Parse({});
  ASSERT_FALSE(parsed.exit.has_value()) << parsed.output;
  EXPECT_EQ(parsed.config.model, "a.gguf");
  EXPECT_EQ(parsed.config.host, "127.0.0.1");
  EXPECT_EQ(parsed.config.port, 50051);
  EXPECT_EQ(parsed.config.http_port, 8000);
  EXPECT_EQ(parsed.config.device, "auto");
  EXPECT_FALSE(parsed.config.deterministic);
  EXPECT_EQ(parsed.config.gpu_memory_utilization, 0.9);
  EXPECT_EQ(parsed.config.default_max_tokens, 1024);
  EXPECT_EQ(parsed.config.max_prompt_bytes, 8 << 20);
  EXPECT_EQ(parsed.config.drain_timeout, 30);
  EXPECT_EQ(parsed.config.session_ttl, 0);
  EXPECT_EQ(parsed.config.data_dir, "");
  EXPECT_EQ(parsed.config.SessionDurability(), Durability::kNone);
  EXPECT_FALSE(parsed.config.host_cache_bytes.has_value());
  EXPECT_EQ(parsed.config.rewind_turns, 4);
  EXPECT_TRUE(parsed.config.enable_prefix_caching);
  EXPECT_TRUE(parsed.config.reflection);
  EXPECT_EQ(parsed.config.geometry.policy, "cascade");
  EXPECT_EQ(parsed.config.geometry.num_sinks, -1);
}

TEST(Config, EveryFlagIsRead) {
  const ParsedCommandLine parsed = Parse({"--served-model-name",
                                          "m",
                                          "--host",
                                          "::1",
                                          "--port",
                                          "0",
                                          "--device",
                                          "cpu",
                                          "--dtype",
                                          "float32",
                                          "--kv-cache-dtype",
                                          "float16",
                                          "--cache-policy",
                                          "paper",
                                          "--sub-cache-tokens",
                                          "512,256,128,128",
                                          "--sinks",
                                          "0",
                                          "--stride",
                                          "64",
                                          "--selection",
                                          "distinctness",
                                          "--selection-group",
                                          "8",
                                          "--ema-decay",
                                          "0.5",
                                          "--score-reduction",
                                          "max",
                                          "--max-num-seqs",
                                          "2",
                                          "--max-num-sessions",
                                          "3",
                                          "--max-num-batched-tokens",
                                          "64",
                                          "--max-num-queued-reqs",
                                          "5",
                                          "--cache-memory-bytes",
                                          "3GiB",
                                          "--session-ttl",
                                          "60",
                                          "--data-dir",
                                          "sessions",
                                          "--durability",
                                          "image",
                                          "--journal-retain",
                                          "images",
                                          "--host-cache-bytes",
                                          "2GiB",
                                          "--rewind-turns",
                                          "64",
                                          "--default-max-tokens",
                                          "0",
                                          "--max-prompt-bytes",
                                          "1000",
                                          "--drain-timeout",
                                          "1",
                                          "--reflection",
                                          "off",
                                          "--no-enable-prefix-caching",
                                          "--chat-template",
                                          "chatml",
                                          "--deterministic",
                                          "--threads",
                                          "2"});
  ASSERT_FALSE(parsed.exit.has_value()) << parsed.output;
  const ServerConfig& config = parsed.config;
  EXPECT_EQ(config.served_model_name, "m");
  EXPECT_EQ(config.host, "::1");
  EXPECT_EQ(config.port, 0);
  EXPECT_EQ(config.dtype, "float32");
  EXPECT_TRUE(config.deterministic);
  EXPECT_EQ(config.kv_cache_dtype, "float16");
  EXPECT_EQ(config.geometry.policy, "paper");
  EXPECT_THAT(config.geometry.sub_cache_tokens, testing::ElementsAre(512, 256, 128, 128));
  EXPECT_EQ(config.geometry.num_sinks, 0);
  EXPECT_EQ(config.geometry.stride, 64);
  EXPECT_EQ(config.geometry.selection, "distinctness");
  EXPECT_EQ(config.geometry.selection_group, 8);
  EXPECT_EQ(config.geometry.ema_decay, 0.5);
  EXPECT_EQ(config.geometry.score_reduction, "max");
  EXPECT_EQ(config.cache_memory_bytes, int64_t{3} << 30);
  EXPECT_EQ(config.data_dir, "sessions");
  EXPECT_EQ(config.SessionDurability(), Durability::kImage);
  EXPECT_EQ(config.journal_retain, "images");
  EXPECT_EQ(config.host_cache_bytes, int64_t{2} << 30);
  EXPECT_EQ(config.rewind_turns, 64);
  EXPECT_EQ(config.default_max_tokens, 0);
  EXPECT_FALSE(config.reflection);
  EXPECT_FALSE(config.enable_prefix_caching);
  EXPECT_EQ(config.threads, 2);
}

TEST(Config, CommandLineOverEnvironmentOverDefault) {
  const Environment tokens("CASCADE_CACHE_TOKENS", "2048");
  const Environment split("CASCADE_SUB_CACHES", "2");
  const Environment memory("CASCADE_CACHE_MEMORY_BYTES", "512MiB");
  const ParsedCommandLine parsed = Parse({"--sub-caches", "4"});
  ASSERT_FALSE(parsed.exit.has_value()) << parsed.output;
  EXPECT_EQ(parsed.config.geometry.cache_tokens, 2048);
  EXPECT_EQ(parsed.config.geometry.num_sub_caches, 4);
  EXPECT_EQ(parsed.config.cache_memory_bytes, 512 << 20);
}

TEST(Config, PrefixCachingIsSwitchedBothWays) {
  EXPECT_TRUE(Parse({"--enable-prefix-caching"}).config.enable_prefix_caching);
  EXPECT_FALSE(Parse({"--no-enable-prefix-caching"}).config.enable_prefix_caching);
  const Environment off("CASCADE_ENABLE_PREFIX_CACHING", "false");
  EXPECT_FALSE(Parse({}).config.enable_prefix_caching);
  EXPECT_TRUE(Parse({"--enable-prefix-caching"}).config.enable_prefix_caching);
}

TEST(Config, ModelFromTheEnvironment) {
  const Environment model("CASCADE_MODEL", "b.gguf");
  const ParsedCommandLine parsed = Parse({}, false);
  ASSERT_FALSE(parsed.exit.has_value()) << parsed.output;
  EXPECT_EQ(parsed.config.model, "b.gguf");
}

TEST(Config, BadEnvironmentIsAnUnreadableValue) {
  const Environment port("CASCADE_PORT", "tcp://10.0.0.1:1");
  const ParsedCommandLine parsed = Parse({});
  EXPECT_EQ(parsed.exit, ExitCode::kUsage);
  EXPECT_THAT(parsed.output, HasSubstr("port"));
}

TEST(Config, BadChoiceInTheEnvironmentIsNotPassedOver) {
  const Environment dtype("CASCADE_DTYPE", "int3");
  const ParsedCommandLine parsed = Parse({});
  EXPECT_EQ(parsed.exit, ExitCode::kUsage);
  EXPECT_THAT(parsed.output, HasSubstr("--dtype"));
}

TEST(Config, ASwitchFromTheEnvironment) {
  {
    const Environment on("CASCADE_DETERMINISTIC", "true");
    EXPECT_TRUE(Parse({}).config.deterministic);
  }
  {
    const Environment off("CASCADE_DETERMINISTIC", "false");
    const ParsedCommandLine parsed = Parse({});
    EXPECT_FALSE(parsed.exit.has_value()) << parsed.output;
    EXPECT_FALSE(parsed.config.deterministic);
  }
  const Environment neither("CASCADE_DETERMINISTIC", "perhaps");
  EXPECT_EQ(Parse({}).exit, ExitCode::kUsage);
}

// With --device auto, what suits one of the devices is kept until it is known which.
TEST(Config, AutoTakesFlagsOfEitherDevice) {
  const std::vector<std::vector<std::string>> given = {{"--dtype", "bfloat16"},
                                                       {"--dtype", "int8"},
                                                       {"--kv-cache-dtype", "bfloat16"},
                                                       {"--kv-cache-dtype", "float32"},
                                                       {"--gpu-memory-utilization", "0.5"},
                                                       {"--max-num-seqs", "100"},
                                                       {"--device", "cpu", "--deterministic"}};
  for (const std::vector<std::string>& flags : given) {
    const ParsedCommandLine parsed = Parse(flags);
    EXPECT_FALSE(parsed.exit.has_value()) << parsed.output;
  }
}

TEST(Config, DurabilityFollowsTheDataFolder) {
  const struct {
    std::vector<std::string> flags;
    Durability durability;
  } rows[] = {{{}, Durability::kNone},
              {{"--durability", "none"}, Durability::kNone},
              {{"--data-dir", "x"}, Durability::kJournal},
              {{"--data-dir", "x", "--durability", "none"}, Durability::kNone},
              {{"--data-dir", "x", "--durability", "journal"}, Durability::kJournal},
              {{"--data-dir", "x", "--durability", "image"}, Durability::kImage}};
  for (const auto& row : rows) {
    const ParsedCommandLine parsed = Parse(row.flags);
    EXPECT_FALSE(parsed.exit.has_value()) << parsed.output;
    EXPECT_EQ(parsed.config.SessionDurability(), row.durability);
  }
  const Environment folder("CASCADE_DATA_DIR", "x");
  EXPECT_EQ(Parse({}).config.SessionDurability(), Durability::kJournal);
  EXPECT_EQ(Parse({"--host-cache-bytes", "0"}).config.host_cache_bytes, 0);
}

TEST(Config, HelpShowsFlagEnvironmentAndDefault) {
  const ParsedCommandLine parsed = Parse({"--help"}, false);
  EXPECT_EQ(parsed.exit, ExitCode::kOk);
  for (const char* expected :
       {"--cache-tokens", "CASCADE_CACHE_TOKENS", "50051", "--drain-timeout", "CASCADE_MAX_NUM_SEQS",
        "a quarter of the free memory", "64, CPU: 16", "2048, CPU: 64", "CASCADE_DETERMINISTIC", "CASCADE_DATA_DIR",
        "--journal-retain", "--rewind-turns", "journal with --data-dir, else none",
        "CUDA: a quarter of the free memory, CPU: 0", "CASCADE_GPU_MEMORY_UTILIZATION", "0.9", "bfloat16"}) {
    EXPECT_THAT(parsed.output, HasSubstr(expected));
  }
}

TEST(Config, Version) {
  const ParsedCommandLine parsed = Parse({"--version"}, false);
  EXPECT_EQ(parsed.exit, ExitCode::kOk);
  EXPECT_THAT(parsed.output, testing::MatchesRegex("cascade-server [0-9.]+\n"));
}

struct BadFlags {
  std::vector<std::string> flags;
  ExitCode exit;
  const char* names;
};

class BadFlagsTest : public testing::TestWithParam<BadFlags> {};

TEST_P(BadFlagsTest, OneLineAndTheExitCode) {
  const ParsedCommandLine parsed = Parse(GetParam().flags);
  EXPECT_EQ(parsed.exit, GetParam().exit);
  EXPECT_THAT(parsed.output, HasSubstr(GetParam().names));
  EXPECT_THAT(parsed.output, Not(HasSubstr("\n")));
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadFlagsTest,
    testing::Values(
        BadFlags{{"--no-such-flag"}, ExitCode::kUsage, "--no-such-flag"},
        // Not built: unknown, not ignored.
        BadFlags{{"--tensor-parallel-size", "2"}, ExitCode::kUsage, "--tensor-parallel-size"},
        BadFlags{{"stray"}, ExitCode::kUsage, "stray"}, BadFlags{{"--port", "abc"}, ExitCode::kUsage, "--port"},
        BadFlags{{"--port"}, ExitCode::kUsage, "--port"},
        BadFlags{{"--port", "1", "--port", "2"}, ExitCode::kUsage, "--port"},
        BadFlags{{"--max-num-seqs", "99999999999999999999"}, ExitCode::kConfig, "--max-num-seqs"},
        BadFlags{{"--device", "tpu"}, ExitCode::kUsage, "--device"},
        BadFlags{{"--dtype", "int3"}, ExitCode::kUsage, "--dtype"},
        BadFlags{{"--selection", "luck"}, ExitCode::kUsage, "--selection"},
        BadFlags{{"--reflection", "maybe"}, ExitCode::kUsage, "--reflection"},
        BadFlags{{"--enable-prefix-caching=perhaps"}, ExitCode::kUsage, "--enable-prefix-caching"},
        BadFlags{
            {"--enable-prefix-caching", "--no-enable-prefix-caching"}, ExitCode::kUsage, "--enable-prefix-caching"},
        BadFlags{{"--cache-memory-bytes", "3parsec"}, ExitCode::kUsage, "--cache-memory-bytes"},
        BadFlags{{"--cache-memory-bytes", "99999999999999999999999"}, ExitCode::kUsage, "--cache-memory-bytes"},
        BadFlags{{"--cache-memory-bytes", "9999999TiB"}, ExitCode::kUsage, "--cache-memory-bytes"},
        BadFlags{{"--sub-cache-tokens", "512,x"}, ExitCode::kUsage, "--sub-cache-tokens"},
        BadFlags{{"--host", ""}, ExitCode::kConfig, "--host"},
        BadFlags{{"--port", "65536"}, ExitCode::kConfig, "--port"},
        BadFlags{{"--port", "-1"}, ExitCode::kConfig, "--port"},
        BadFlags{{"--max-num-seqs", "0"}, ExitCode::kConfig, "--max-num-seqs"},
        BadFlags{{"--max-num-sessions", "0"}, ExitCode::kConfig, "--max-num-sessions"},
        BadFlags{{"--max-num-queued-reqs", "0"}, ExitCode::kConfig, "--max-num-queued-reqs"},
        BadFlags{{"--max-num-batched-tokens", "8"}, ExitCode::kConfig, "--max-num-seqs"},
        BadFlags{{"--max-num-batched-tokens", "0"}, ExitCode::kConfig, "--max-num-batched-tokens"},
        // 2,048 rows suit 100 turns, and with CUDA they are the default; on the CPU 64 are.
        BadFlags{{"--device", "cpu", "--max-num-seqs", "100", "--max-num-batched-tokens", "64"},
                 ExitCode::kConfig,
                 "--max-num-batched-tokens"},
        BadFlags{{"--gpu-memory-utilization", "much"}, ExitCode::kUsage, "--gpu-memory-utilization"},
        BadFlags{{"--gpu-memory-utilization", "0"}, ExitCode::kConfig, "--gpu-memory-utilization"},
        BadFlags{{"--gpu-memory-utilization", "-0.5"}, ExitCode::kConfig, "--gpu-memory-utilization"},
        BadFlags{{"--gpu-memory-utilization", "1.1"}, ExitCode::kConfig, "--gpu-memory-utilization"},
        BadFlags{{"--gpu-memory-utilization", "nan"}, ExitCode::kConfig, "--gpu-memory-utilization"},
        BadFlags{{"--device", "cpu", "--gpu-memory-utilization", "0.5"}, ExitCode::kConfig, "--cache-memory-bytes"},
        BadFlags{{"--score-kernel", "quick"}, ExitCode::kUsage, "--score-kernel"},
        BadFlags{{"--score-kernel", "fast", "--device", "cpu"}, ExitCode::kConfig, "--score-kernel: fast is for CUDA"},
        BadFlags{{"--score-kernel", "fast", "--deterministic"}, ExitCode::kConfig, "--deterministic"},
        BadFlags{{"--score-kernel", "fast", "--score-reduction", "max"}, ExitCode::kConfig, "--score-reduction mean"},
        BadFlags{{"--score-certificate-limit", "-0.1"}, ExitCode::kConfig, "--score-certificate-limit"},
        BadFlags{{"--score-certificate-limit", "1.5"}, ExitCode::kConfig, "[0, 1]"},
        BadFlags{{"--score-certificate-limit", "nan"}, ExitCode::kConfig, "--score-certificate-limit"},
        BadFlags{{"--score-certificate-limit", "0.1", "--device", "cpu"}, ExitCode::kConfig, "is for CUDA"},
        BadFlags{{"--score-certificate-limit", "0.1", "--score-kernel", "exact"}, ExitCode::kConfig, "predicted"},
        BadFlags{{"--score-certificate-limit", "0.1", "--score-reduction", "max"}, ExitCode::kConfig, "predicted"},
        BadFlags{{"--deterministic", "--deterministic"}, ExitCode::kUsage, "--deterministic"},
        BadFlags{{"--deterministic", "on"}, ExitCode::kUsage, "on"},
        BadFlags{{"--deterministic=perhaps"}, ExitCode::kUsage, "--deterministic"},
        BadFlags{{"--device", "cpu", "--dtype", "bfloat16"}, ExitCode::kConfig, "int16 (auto), int8 and float32"},
        BadFlags{{"--device", "cpu", "--dtype", "float16"}, ExitCode::kConfig, "--dtype"},
        BadFlags{{"--device", "cuda", "--dtype", "int8"}, ExitCode::kConfig, "bfloat16 (auto) and float16"},
        BadFlags{{"--device", "cuda", "--dtype", "float32"}, ExitCode::kConfig, "--dtype"},
        BadFlags{{"--device", "cpu", "--kv-cache-dtype", "bfloat16"}, ExitCode::kConfig, "float16 and float32"},
        BadFlags{{"--device", "cuda", "--kv-cache-dtype", "float16"}, ExitCode::kConfig, "CUDA has bfloat16"},
        BadFlags{{"--device", "cuda", "--kv-cache-dtype", "float32"}, ExitCode::kConfig, "--kv-cache-dtype"},
        // Right on neither device.
        BadFlags{{"--dtype", "bfloat16", "--kv-cache-dtype", "float16"}, ExitCode::kConfig, "--dtype"},
        BadFlags{{"--session-ttl", "-5"}, ExitCode::kConfig, "--session-ttl"},
        BadFlags{{"--durability", "journal"}, ExitCode::kConfig, "--durability: journal needs --data-dir"},
        BadFlags{{"--durability", "image"}, ExitCode::kConfig, "--durability: image needs --data-dir"},
        BadFlags{{"--durability", "tape", "--data-dir", "x"}, ExitCode::kUsage, "--durability"},
        BadFlags{{"--journal-retain", "all"}, ExitCode::kConfig, "--journal-retain: needs --data-dir"},
        BadFlags{{"--journal-retain", "some", "--data-dir", "x"}, ExitCode::kUsage, "--journal-retain"},
        BadFlags{{"--data-dir", ""}, ExitCode::kConfig, "--data-dir"},
        BadFlags{{"--data-dir", "a", "--data-dir", "b"}, ExitCode::kUsage, "--data-dir"},
        BadFlags{{"--host-cache-bytes", "much"}, ExitCode::kUsage, "--host-cache-bytes"},
        BadFlags{{"--host-cache-bytes", "-1"}, ExitCode::kUsage, "--host-cache-bytes"},
        BadFlags{{"--rewind-turns", "-1"}, ExitCode::kConfig, "--rewind-turns"},
        BadFlags{{"--rewind-turns", "65"}, ExitCode::kConfig, "--rewind-turns"},
        BadFlags{{"--default-max-tokens", "-1"}, ExitCode::kConfig, "--default-max-tokens"},
        BadFlags{{"--max-prompt-bytes", "16777216"}, ExitCode::kConfig, "--max-prompt-bytes"},
        BadFlags{{"--drain-timeout", "-1"}, ExitCode::kConfig, "--drain-timeout"},
        // What stands for "not given" inside cannot be given.
        BadFlags{{"--cache-tokens", "0"}, ExitCode::kConfig, "--cache-tokens"},
        BadFlags{{"--sub-caches", "0"}, ExitCode::kConfig, "--sub-caches"},
        BadFlags{{"--sinks", "-1"}, ExitCode::kConfig, "--sinks"},
        BadFlags{{"--stride", "0"}, ExitCode::kConfig, "--stride"},
        BadFlags{{"--selection-group", "0"}, ExitCode::kConfig, "--selection-group"},
        BadFlags{{"--cache-memory-bytes", "0"}, ExitCode::kConfig, "--cache-memory-bytes"},
        BadFlags{{"--sub-cache-tokens", "64,64", "--cache-tokens", "128"}, ExitCode::kConfig, "--sub-cache-tokens"},
        BadFlags{{"--sub-cache-tokens", "64,64", "--sub-caches", "2"}, ExitCode::kConfig, "--sub-cache-tokens"}));

TEST(Config, ModelIsRequired) {
  const ParsedCommandLine parsed = Parse({}, false);
  EXPECT_EQ(parsed.exit, ExitCode::kUsage);
  EXPECT_THAT(parsed.output, HasSubstr("--model"));
}

TEST(Config, HttpPort) {
  EXPECT_EQ(Parse({"--http-port", "0"}).config.http_port, 0);
  for (const std::vector<std::string>& flags :
       {std::vector<std::string>{"--http-port", "65536"}, {"--http-port", "-1"}, {"--port", "7", "--http-port", "7"}}) {
    const ParsedCommandLine parsed = Parse(flags);
    EXPECT_EQ(parsed.exit, ExitCode::kConfig);
    EXPECT_THAT(parsed.output, HasSubstr("--http-port"));
  }
  EXPECT_FALSE(Parse({"--port", "0", "--http-port", "0"}).exit.has_value());
}

}  // namespace
}  // namespace cascade
