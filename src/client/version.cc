#include "berth/berth.h"

#ifndef BERTH_VERSION
#define BERTH_VERSION "unknown"
#endif

const char* berth_version(void) {
  return BERTH_VERSION;
}
