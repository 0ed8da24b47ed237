/* A libcuda.so.1 that says what the environment tells it to say. Names and numbers as in NVIDIA's cuda.h.

   FAKE_CUDA      status of cuInit
   FAKE_GPUS      as for nvml.c; CUDA_VISIBLE_DEVICES="" hides them all                                                */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gpu {
    char name[96];
    int major, minor;
};

static struct gpu gpus[16];
static int count;

int cuInit(unsigned flags) {
    (void)flags;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    char *list = strdup(getenv("FAKE_GPUS") ? getenv("FAKE_GPUS") : "");
    count = 0;
    if (visible && !*visible)
        return 100; /* CUDA_ERROR_NO_DEVICE */
    for (char *entry = strtok(list, ";"); entry && count < 16; entry = strtok(NULL, ";"), count++)
        sscanf(entry, "%95[^:]:%d.%d", gpus[count].name, &gpus[count].major, &gpus[count].minor);
    free(list);
    if (getenv("FAKE_CUDA"))
        return atoi(getenv("FAKE_CUDA"));
    return count ? 0 : 100;
}

int cuGetErrorString(int status, const char **text) {
    *text = status == 802 ? "system not yet initialized" : status == 100 ? "no CUDA-capable device is detected" : "unknown error";
    return 0;
}

int cuDeviceGetCount(int *found) {
    *found = count;
    return 0;
}

int cuDeviceGet(int *device, int index) {
    *device = index;
    return 0;
}

int cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, length, "%s", gpus[device].name);
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? gpus[device].major : attribute == 76 ? gpus[device].minor : 0;
    return 0;
}
