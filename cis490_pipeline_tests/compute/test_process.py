import logging

from cis490_pipeline.compute.process import log_to_stderr


def test_messages_of_the_package_are_plain_lines_on_standard_error(capsys):
    logger = logging.getLogger("cis490_pipeline")
    before, level = list(logger.handlers), logger.level
    try:
        log_to_stderr()
        log_to_stderr()
        logging.getLogger("cis490_pipeline.somewhere").info("%d models scored", 3)
        logging.getLogger("other").info("not ours")
        assert capsys.readouterr().err == "3 models scored\n"
    finally:
        logger.handlers[:], logger.level = before, level
