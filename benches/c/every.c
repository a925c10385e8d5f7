/*
 * A milter that does nothing, asked about everything: every callback of libmilter is registered and
 * answers SMFIS_CONTINUE. This is what a first filter looks like when nothing is declined.
 *
 * usage: every SOCKET      SOCKET as libmilter spells it, e.g. unix:/tmp/every.sock
 * Ends on SIGTERM. Built and driven by benches/run.
 */
#include <libmilter/mfapi.h>
#include <stdio.h>
#include <sysexits.h>

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
	(void)ctx, (void)host, (void)address;
	return SMFIS_CONTINUE;
}

static sfsistat on_helo(SMFICTX *ctx, char *name)
{
	(void)ctx, (void)name;
	return SMFIS_CONTINUE;
}

static sfsistat on_path(SMFICTX *ctx, char **arguments)
{
	(void)ctx, (void)arguments;
	return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	(void)ctx, (void)name, (void)value;
	return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *chunk, size_t length)
{
	(void)ctx, (void)chunk, (void)length;
	return SMFIS_CONTINUE;
}

static sfsistat on_unknown(SMFICTX *ctx, const char *command)
{
	(void)ctx, (void)command;
	return SMFIS_CONTINUE;
}

static sfsistat on_stage(SMFICTX *ctx)
{
	(void)ctx;
	return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
	struct smfiDesc every = {
		.xxfi_name = "every",
		.xxfi_version = SMFI_VERSION,
		.xxfi_flags = SMFIF_DELRCPT,
		.xxfi_connect = on_connect,
		.xxfi_helo = on_helo,
		.xxfi_envfrom = on_path,
		.xxfi_envrcpt = on_path,
		.xxfi_data = on_stage,
		.xxfi_header = on_header,
		.xxfi_eoh = on_stage,
		.xxfi_body = on_body,
		.xxfi_eom = on_stage,
		.xxfi_abort = on_stage,
		.xxfi_close = on_stage,
		.xxfi_unknown = on_unknown,
	};

	if (argc != 2) {
		fprintf(stderr, "usage: every SOCKET\n");
		return EX_USAGE;
	}
	if (smfi_register(every) != MI_SUCCESS || smfi_setconn(argv[1]) != MI_SUCCESS ||
	    smfi_setbacklog(1024) != MI_SUCCESS || smfi_opensocket(true) != MI_SUCCESS)
		return EX_UNAVAILABLE;
	return smfi_main() == MI_SUCCESS ? EX_OK : EX_SOFTWARE;
}
