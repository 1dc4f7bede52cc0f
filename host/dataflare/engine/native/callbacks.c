/* What wasmtime calls while a plugin runs.

   wasmtime must never call Python directly: an exception that is raised before the first statement of a callback (by a
   signal's handler, another thread, the recursion limit, a lack of memory) would leave its result undefined. Here every
   result is defined on every path, and the exception is kept in `struct call`, where `callbacks.py` finds it.

   The code has neither data nor relocations: what it needs comes in `struct api`, whose order and types are those of
   `callbacks.py`. `python -m dataflare.toolchain callbacks` compiles it into `callbacks.json`, for each kind
   of processor that there is a package of wasmtime for. */

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef void error; /* wasmtime_error_t */
typedef void object; /* PyObject */

struct api {
    int (*gil_ensure)(void);
    void (*gil_release)(int);
    object *(*call_no_args)(object *);
    void (*decref)(object *);
    void (*fetch)(object **, object **, object **);
    void (*normalize)(object **, object **, object **);
    error *(*error_new)(const char *);
    void *(*context_data)(void *);
    error *(*func_call)(const void *, void *, const void *, size_t, void *, size_t);
    error *(*instantiate)(const void *, void *, const void *, void *);
    void (*increment_epoch)(void *);
    void (*error_delete)(error *);
    void *(*store_new)(void *, void *, void *);
    void *(*store_context)(void *);
    void (*store_delete)(void *);
    void *(*thread_value)(unsigned long);
    void *(*map)(void *, size_t, int, int, int, long);
    int (*protect)(void *, size_t, int);
    int (*unmap)(void *, size_t);
    void (*free)(void *);
    int (*sigaction)(int, const void *, void *);
    int (*sigmask)(int, const void *, void *);
    object *serve;   /* serves a call of the plugin's to the host */
    object *look;    /* does nothing, but lets Python raise what waits */
    const char *failed, *over_time, *over_memory, *no_memory;
    unsigned long key; /* of the thread's budget, while it instantiates */
    int map_flags;
    int mapped; /* memories that there are */
    const struct trap *traps; /* the signals by which compiled code traps */
    size_t trap_count;
    uint64_t trap_mask[16]; /* a sigset_t of them */
    uintptr_t python_from, python_to; /* the code of Python itself */
};

struct trap {
    const void *action; /* wasmtime's, a struct sigaction */
    int number;
};

struct call {
    const struct api *api;
    void *engine, *store, *context;
    const void *function, *argument; /* of a call */
    const void *linker, *component;  /* of an instantiation */
    void *instance;
    error *outcome;
    object *type, *value, *traceback; /* the exception that ended it */
    object *take_text; /* takes what the plugin wrote to its standard error, in any thread */
    const uint8_t *text;
    size_t text_size;
    int32_t stop;   /* ends the call when compiled code next looks at its epoch */
    int32_t look;   /* lets Python look for signals then */
    int32_t number; /* of the host's function */
};

struct memory {
    uint8_t *base;
    size_t size, maximum, mapped;
    struct budget *budget;
};

struct budget {
    struct api *api;
    size_t limit, used, exempt_size;
    int32_t exempt, refused, shortage;
    int32_t owners; /* the instance, and each memory */
    uint32_t count, capacity;
    struct memory memories[];
};

/* Call Python without arguments; keep what it raises. */
static int python(struct call *call, object *callable) {
    const struct api *api = call->api;
    int gil = api->gil_ensure();
    object *result = api->call_no_args(callable);
    if (!result && !call->type) {
        api->fetch(&call->type, &call->value, &call->traceback);
        api->normalize(&call->type, &call->value, &call->traceback);
    } else if (!result) {
        object *type, *value, *traceback;
        api->fetch(&type, &value, &traceback);
        api->decref(type);
        api->decref(value);
        api->decref(traceback);
    }
    api->decref(result);
    api->gil_release(gil);
    return result != NULL;
}

void open_store(struct call *call) {
    call->store = call->api->store_new(call->engine, call, NULL);
    call->context = call->api->store_context(call->store);
}

/* May be called any number of times. */
void close_store(struct call *call) {
    void *store = call->store;
    error *outcome = call->outcome;
    call->store = call->context = NULL;
    call->outcome = NULL;
    if (outcome) call->api->error_delete(outcome);
    if (store) call->api->store_delete(store);
}

/* A trap is a signal, which ends the process where wasmtime's handler does not come first or where the thread blocks
   it. Python's own handlers (faulthandler's, those of the module `signal`) hand nothing on, so wasmtime's takes their
   place again; those of other libraries do, and stay. */
static uint64_t begin_traps(const struct api *api) {
    uint64_t blocked[16];
    if (!api->trap_count) return 0;
    for (size_t i = 0; i < api->trap_count; i++) {
        const struct trap *trap = &api->traps[i];
        uintptr_t now[32]; /* a struct sigaction, whose first member is the handler */
        if (api->sigaction(trap->number, NULL, now)) continue;
        if (now[0] <= 1 || (now[0] >= api->python_from && now[0] < api->python_to))
            api->sigaction(trap->number, trap->action, NULL);
    }
    return api->sigmask(1, api->trap_mask, blocked) ? 0 : blocked[0] & api->trap_mask[0];
}

static void end_traps(const struct api *api, uint64_t blocked) {
    if (!blocked) return;
    uint64_t mask[16];
    for (int i = 0; i < 16; i++) ((volatile uint64_t *)mask)[i] = i ? 0 : blocked;
    api->sigmask(0, mask, NULL);
}

/* These two return whether the call failed, with `outcome` or an exception. */

int run(struct call *call) {
    uint64_t blocked = begin_traps(call->api);
    call->outcome = call->api->func_call(call->function, call->context, call->argument, 1, NULL, 0);
    end_traps(call->api, blocked);
    return call->outcome || call->type;
}

int start(struct call *call) {
    uint64_t blocked = begin_traps(call->api);
    call->outcome = call->api->instantiate(call->linker, call->context, call->component, call->instance);
    end_traps(call->api, blocked);
    return call->outcome || call->type;
}

error *on_call(const struct api *api, void *context, void *type, const uint32_t *arguments, size_t count) {
    struct call *call = api->context_data(context);
    (void)type;
    call->number = count ? (int32_t)arguments[2] : -1;
    return python(call, api->serve) ? NULL : api->error_new(api->failed);
}

error *on_epoch(void *context, struct call *call, uint64_t *delta, uint8_t *kind) {
    const struct api *api = call->api;
    (void)context;
    *delta = 1;
    *kind = 0;
    if (call->look) {
        call->look = 0;
        if (!python(call, api->look)) return api->error_new(api->failed);
    }
    return call->stop ? api->error_new(api->over_time) : NULL;
}

ptrdiff_t on_text(struct call *call, const uint8_t *text, size_t size) {
    call->text = text;
    call->text_size = size;
    if (!python(call, call->take_text)) {
        call->stop = 1;
        call->api->increment_epoch(call->engine);
    }
    return (ptrdiff_t)size;
}

void leave_budget(struct budget *budget) {
    if (__atomic_sub_fetch(&budget->owners, 1, __ATOMIC_ACQ_REL) == 0) budget->api->free(budget);
}

static uint8_t *get_memory(struct memory *memory, size_t *size, size_t *maximum) {
    *size = memory->size;
    *maximum = memory->maximum;
    return memory->base;
}

static error *grow_memory(struct memory *memory, size_t size) {
    struct budget *budget = memory->budget;
    if (size <= memory->size) return NULL;
    size_t more = size - memory->size;
    if (size > memory->maximum || more > budget->limit - budget->used) {
        budget->refused = 1;
        return budget->api->error_new(budget->api->over_memory);
    }
    if (budget->api->protect(memory->base, size, 3)) {
        budget->shortage = 1;
        return budget->api->error_new(budget->api->no_memory);
    }
    budget->used += more;
    memory->size = size;
    return NULL;
}

static void free_memory(struct memory *memory) {
    struct budget *budget = memory->budget;
    struct api *api = budget->api;
    api->unmap(memory->base, memory->mapped);
    __atomic_sub_fetch(&api->mapped, 1, __ATOMIC_ACQ_REL);
    leave_budget(budget);
}

struct linear_memory {
    struct memory *memory;
    uint8_t *(*get)(struct memory *, size_t *, size_t *);
    error *(*grow)(struct memory *, size_t);
    void (*finalizer)(struct memory *);
};

error *new_memory(struct api *api, void *type, size_t minimum, size_t maximum, size_t reserved, size_t guard,
                  struct linear_memory *made) {
    struct budget *budget = api->thread_value(api->key);
    (void)type;
    if (!budget || budget->count == budget->capacity) return api->error_new(api->failed);
    size_t counted = minimum;
    if (minimum == budget->exempt_size && budget->exempt) {
        budget->exempt--;
        counted = 0;
    } else if (minimum > budget->limit - budget->used) {
        budget->refused = 1;
        return api->error_new(api->over_memory);
    }
    if (reserved < minimum) reserved = minimum;
    size_t total = reserved + guard;
    uint8_t *base = api->map(NULL, total, 0, api->map_flags, -1, 0);
    if (base == (uint8_t *)-1) {
        budget->shortage = 1;
        return api->error_new(api->no_memory);
    }
    if (minimum && api->protect(base, minimum, 3)) {
        api->unmap(base, total);
        budget->shortage = 1;
        return api->error_new(api->no_memory);
    }
    struct memory *memory = &budget->memories[budget->count++];
    memory->base = base;
    memory->size = minimum;
    memory->maximum = maximum < reserved ? maximum : reserved;
    memory->mapped = total;
    memory->budget = budget;
    budget->used += counted;
    __atomic_add_fetch(&budget->owners, 1, __ATOMIC_ACQ_REL);
    __atomic_add_fetch(&api->mapped, 1, __ATOMIC_ACQ_REL);
    made->memory = memory;
    made->get = get_memory;
    made->grow = grow_memory;
    made->finalizer = free_memory;
    return NULL;
}
