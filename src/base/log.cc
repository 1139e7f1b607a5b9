#include "base/log.h"

#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <array>
#include <memory>
#include <string>

namespace berth {
namespace {

constexpr size_t kQueueLines = 8192;
constexpr std::array<std::string_view, 6> kLevels = {"trace", "debug", "info",
                                                     "warn",  "error", "off"};

struct Log {
  std::shared_ptr<spdlog::details::thread_pool> worker;
  std::shared_ptr<spdlog::logger> logger;
};

Log& instance() {
  static Log log{nullptr, std::make_shared<spdlog::logger>(
                              "berthd", std::make_shared<spdlog::sinks::stderr_sink_mt>())};
  return log;
}

// Nothing, until its first line.
Log& access_instance() {
  static Log log;
  return log;
}

Log make_log(std::string pattern, spdlog::pattern_time_type time) {
  Log log;
  log.worker = std::make_shared<spdlog::details::thread_pool>(kQueueLines, 1);
  log.logger = std::make_shared<spdlog::async_logger>(
      "berthd", std::make_shared<spdlog::sinks::stderr_sink_mt>(), log.worker,
      spdlog::async_overflow_policy::overrun_oldest);
  log.logger->set_pattern(std::move(pattern), time);
  log.logger->flush_on(spdlog::level::info);
  return log;
}

uint64_t lost_of(const Log& log) {
  return log.worker ? log.worker->overrun_counter() : 0;
}

}  // namespace

bool is_log_level(std::string_view level) {
  for (const std::string_view known : kLevels) {
    if (level == known) return true;
  }
  return false;
}

void set_log_level(std::string_view level) {
  log().set_level(spdlog::level::from_str(std::string(level)));
}

void start_log(std::string_view level) {
  instance() = make_log("%Y-%m-%dT%H:%M:%S.%e %l %v", spdlog::pattern_time_type::local);
  set_log_level(level);
}

void stop_log() {
  Log& log = instance();
  log.logger->flush();
  log.logger =
      std::make_shared<spdlog::logger>("berthd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  log.worker.reset();  // joins after the queue is written
  access_instance() = {};
}

spdlog::logger& log() {
  return *instance().logger;
}

void log_access(std::string_view fields) {
  Log& log = access_instance();
  if (!log.logger) {
    log = make_log("{\"time\":\"%Y-%m-%dT%H:%M:%S.%eZ\",%v}", spdlog::pattern_time_type::utc);
  }
  log.logger->info(fields);
}

uint64_t lost_log_lines() {
  return lost_of(instance()) + lost_of(access_instance());
}

}  // namespace berth
