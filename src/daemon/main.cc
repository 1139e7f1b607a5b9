// berthd: builds every object by hand, top to bottom, and runs the loop.
#include <signal.h>
#include <sysexits.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <variant>

#include "base/log.h"
#include "base/status_text.h"
#include "broker/broker.h"
#include "config/load.h"
#include "config/print.h"
#include "control/control.h"
#include "daemon/activation.h"
#include "daemon/notifier.h"
#include "daemon/options.h"
#include "daemon/overview.h"
#include "daemon/process.h"
#include "daemon/reload.h"
#include "loop/loop.h"
#include "loop/signal_watch.h"
#include "net/listeners.h"

namespace {

using namespace berth;

int complain(const std::string& text, int exit_code) {
  std::fprintf(stderr, "berthd: %s\n", text.c_str());
  return exit_code;
}

// False if the configuration is not to be used.
bool report(const config::Loaded& loaded) {
  for (const config::Problem& w : loaded.warnings) complain("warning: " + w.str(), 0);
  for (const config::Problem& p : loaded.problems) complain(p.str(), 0);
  return loaded.problems.empty();
}

absl::Status open_all(net::Listeners& listeners, broker::Broker& broker,
                      control::Control& control) {
  absl::Status opened = broker.open(listeners);
  if (opened.ok()) opened = control.open(listeners);
  if (opened.ok()) opened = listeners.check_all_used();
  return opened;
}

int serve(const config::Settings& settings, const daemon::Options& options,
          net::Listeners listeners) {
  const uint32_t fd_limit = daemon::raise_fd_limit();
  // Without it sockets may be opened all the same: elsewhere, or by systemd.
  absl::Status dir = daemon::make_runtime_dir(options.load.runtime_dir, options.load.user);
  dir.Update(daemon::make_runtime_dir(config::sockets_dir(options.load), options.load.user));

  loop::Loop loop;
  broker::Broker broker(loop, settings, fd_limit);
  std::function<void()> stop;
  daemon::Notifier notifier(loop, [&] { return daemon::overview_of(broker); });
  daemon::Reload reload(loop, broker, notifier, options.load);
  const control::DaemonOrders orders = {
      [&](control::ReloadDone done) { reload.start(std::move(done)); },
      [&](bool now) {
        stop();
        if (now) stop();
      }};
  control::Control control(loop, broker, orders, fd_limit, BERTH_VERSION);
  stop = [&] {
    const Duration timeout = broker.settings().drain_timeout;
    notifier.stopping(timeout);
    log().info("stops; waits up to {} for running leases", format_duration(timeout));
    control.say_stopping();
    broker.shut_down(timeout, [&] {
      control.close();
      loop.stop();
    });
  };
  // Before anybody can know that berthd is there, so that it always ends well.
  const loop::SignalWatch term(loop, SIGTERM, stop);
  const loop::SignalWatch interrupt(loop, SIGINT, stop);
  const absl::Status opened = open_all(listeners, broker, control);
  if (!opened.ok() && !dir.ok()) complain(text_of(dir), 0);
  if (!opened.ok()) return complain(text_of(opened), EX_CANTCREAT);
  notifier.ready();
  log().info("ready: {} pools, {} file descriptors", settings.pools.size(), fd_limit);
  loop.run();

  const uint64_t failed = broker.driver().failed_closes();
  log().info("stopped; {} closes failed", failed);
  if (!loop.working()) return EX_OK;
  // A name look-up hangs on a worker, which exit() would wait for.
  stop_log();
  std::_Exit(EX_OK);
}

}  // namespace

int main(int argc, char** argv) {
  daemon::keep_inheritance();
  auto parsed = daemon::parse_options(argc, argv, BERTH_VERSION);
  if (const int* exit_code = std::get_if<int>(&parsed)) return *exit_code;
  const auto& options = std::get<daemon::Options>(parsed);

  const config::Loaded loaded = config::load(options.load);
  if (!report(loaded)) return EX_CONFIG;
  if (options.check_config) {
    std::fputs(config::print(loaded.settings).c_str(), stdout);
    return EX_OK;
  }

  auto listeners = daemon::passed_sockets();
  if (!listeners.ok()) return complain(text_of(listeners.status()), EX_CANTCREAT);
  signal(SIGPIPE, SIG_IGN);
  start_log(loaded.settings.daemon.log_level);
  const int exit_code = serve(loaded.settings, options, *std::move(listeners));
  stop_log();
  return exit_code;
}
