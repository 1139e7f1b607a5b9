// Intake: what becomes of requests (rule 17). Paused: they wait. Disabled: they are refused.
#pragma once

#include <cstdint>

namespace berth::pool {

enum class Intake : uint8_t { open, paused, disabled };

}  // namespace berth::pool
