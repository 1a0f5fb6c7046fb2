from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


pathvars:
    results=STUDY,
    logs=f"{STUDY}/logs",
    benchmarks=f"{STUDY}/benchmarks",
    timings=f"{STUDY}/timings",


wildcard_constraints:
    dataset="[^/]+",
    policy="[^/]+",
    judge="[^/]+",
    seed=r"\d+",


scattergather:
    evaluation=config["compute"]["shards"],


localrules:
    all,
    data,
    models,
    prompts,
    policies,
    responses,
    rewards,
    analysis,
    check,
    report,
    fetch_hub,


report: "workflow/report/workflow.rst"


onstart:
    check_writable()
    check_cluster()


onerror:
    render_partial_report()


onsuccess:
    partial_report().unlink(missing_ok=True)
    print_summary()


rule all:
    default_target: True
    input:
        report_files(),
        step_files(),


include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/prompts.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation.smk"


if "overrefusal" in config:

    include: "workflow/rules/overrefusal.smk"


include: "workflow/rules/analysis.smk"
include: "workflow/rules/report.smk"


rule other_study:
    input:
        from_other_study,
    output:
        "results/{other}/{path}",
    log:
        "<logs>/other_study/{other}/{path}.log",
    wildcard_constraints:
        other=f"(?!(?:{one_of(readable_folders())})/)[^/]+",
        path=".+",
    conda:
        "environment.yml"
    shell:
        "false &> {log}"
