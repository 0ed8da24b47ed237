/* A libnvidia-ml.so.1 that says what the environment tells it to say. Names and numbers as in NVIDIA's nvml.h.

   FAKE_NVML      status of nvmlInit_v2; "hang" and "crash" do that, "slow" takes 30 s
   FAKE_DEVICE    status of nvmlDeviceGetHandleByIndex_v2
   FAKE_DRIVER    the driver's version
   FAKE_GPUS      one "name:major.minor" for each GPU, separated by ";"                                                */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct gpu {
    char name[96];
    int major, minor;
};

static struct gpu gpus[16];
static unsigned count;

static int number(const char *variable) { return getenv(variable) ? atoi(getenv(variable)) : 0; }

int nvmlInit_v2(void) {
    const char *state = getenv("FAKE_NVML") ? getenv("FAKE_NVML") : "0";
    if (!strcmp(state, "hang"))
        pause();
    if (!strcmp(state, "slow"))
        sleep(30);
    if (!strcmp(state, "crash"))
        raise(SIGSEGV);
    char *list = strdup(getenv("FAKE_GPUS") ? getenv("FAKE_GPUS") : "");
    count = 0;
    for (char *entry = strtok(list, ";"); entry && count < 16; entry = strtok(NULL, ";"), count++)
        sscanf(entry, "%95[^:]:%d.%d", gpus[count].name, &gpus[count].major, &gpus[count].minor);
    free(list);
    return atoi(state);
}

const char *nvmlErrorString(int status) {
    switch (status) {
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "%s", getenv("FAKE_DRIVER") ? getenv("FAKE_DRIVER") : "580.95.05");
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *found) {
    *found = count;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = &gpus[index];
    return number("FAKE_DEVICE");
}

int nvmlDeviceGetName(void *device, char *name, unsigned length) {
    snprintf(name, length, "%s", ((struct gpu *)device)->name);
    return 0;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-%ld", (long)((struct gpu *)device - gpus));
    return 0;
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    *major = ((struct gpu *)device)->major;
    *minor = ((struct gpu *)device)->minor;
    return 0;
}
