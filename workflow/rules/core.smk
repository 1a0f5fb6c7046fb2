# Base rules: a step, a step on a device, a step that several processes share. The rules of the wings derive from them and say what differs.
# A step's log, benchmark, timing and state carry one name.


rule step:
    log:
        "<logs>/step.log",
    benchmark:
        "<benchmarks>/step.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(10),
    params:
        options=options,
        more="",
    shell:
        "python -m {params.script} --config {params.cfg:q} {params.options} {params.more} 2>&1 | tee {log:q}"


rule step_on_device:
    log:
        "<logs>/step_on_device.log",
    benchmark:
        "<benchmarks>/step_on_device.tsv"
    conda:
        "../../environment.yml"
    threads: config["compute"]["threads"]
    resources:
        gpu=ONE_GPU,
        mem_mb=per_attempt(8000),
        runtime=per_attempt(240),
    params:
        options=options_of_long_step,
        more="",
    shell:
        r"""
        python -m {params.script} --config {params.cfg:q} --threads {threads} \
            {params.options} {params.more} 2>&1 | tee {log:q}
        """


rule launched_step:
    log:
        "<logs>/launched_step.log",
    benchmark:
        "<benchmarks>/launched_step.tsv"
    priority: 1  # a policy trains before another answers: what follows it waits
    conda:
        "../../environment.yml"
    threads: config["compute"]["threads"]
    resources:
        checkpoint_seconds=config["compute"]["checkpoint_seconds"],
        processes=config["compute"]["processes"],
        gpu=config["compute"]["gpus"],
        mem_mb=per_attempt(16000 * config["compute"]["processes"]),
        runtime=per_attempt(720),
    params:
        options=options_of_long_step,
        more="",
        besides=launcher_settings,
    shell:
        r"""
        launch {resources.processes} {params.script} --config {params.cfg:q} --seed {wildcards.seed} --threads {threads} \
            --checkpoint-seconds {resources.checkpoint_seconds} {params.options} {params.more} 2>&1 | tee {log:q}
        """
